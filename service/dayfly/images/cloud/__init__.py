"""Cloud images as bases: fetched and verified, inspected, and prepared for a first boot. Not here: any boot of one."""
