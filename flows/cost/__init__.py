"""What the stages of a plan will cost before they run: time, bytes and requests, from what was seen of their like."""
