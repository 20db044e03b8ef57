"""What a contribution reveals: clipping, mechanisms, accounting, ledger."""
