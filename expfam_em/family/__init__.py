"""What a family is: the abstract class and what follows from T and A alone."""
