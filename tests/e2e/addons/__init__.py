"""End-to-end tests of add-ons: a package, so that its fixture `addons` ends with the last of them."""
