"""Where documents come from (hub data sets, files, installed packages) and how they are cut into chunks."""
