"""Moving in: what another tag manager's export says, as destination files, and a list of what could not be carried."""
