"""What was refused: kept, shown, taken in again."""
