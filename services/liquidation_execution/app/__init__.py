"""What liquidation does with its inputs, behind ports."""
