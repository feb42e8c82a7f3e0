"""What each address shows; every module has one ``show``."""
