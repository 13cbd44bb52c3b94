"""One small server per contender, each as a good developer of that framework would write it."""
