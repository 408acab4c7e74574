"""What checks annotations in the tests: beartype, which here takes an int for a float, as Python does."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
