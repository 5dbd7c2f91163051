"""What every HTTP face shares: transactions, authorization, problems, pagination."""
