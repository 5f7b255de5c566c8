"""Version 1 of the contract; every module here but this one is generated from the `.proto` files beside it."""
