"""What a call can do. `interface` says how to write a tool; every other module is one family of tools."""
