"""The console's pages, one module for each menu entry, and their routers."""
