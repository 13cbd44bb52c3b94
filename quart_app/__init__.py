"""Files of any size in and out of Quart and Hypercorn, with flat memory."""
