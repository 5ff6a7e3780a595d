"""What is installed beside mmsls: toolboxes, what they lack, what does not work together (standard library)."""
