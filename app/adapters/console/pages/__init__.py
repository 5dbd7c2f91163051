"""The console's pages, one module a room of the menu, and the routers of all of them."""
