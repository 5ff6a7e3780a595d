"""What the processes of one run share: work, results and failures."""
