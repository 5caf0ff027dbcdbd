"""What the code in a text sets, loads and imports: settings, to be asked for."""
