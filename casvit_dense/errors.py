"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """Bad input. The message says what is wrong, where, and what to do.

    The command line prints it as one line and exits with code 2, without a traceback.
    """
