"""Operations for the signed-in caller."""
