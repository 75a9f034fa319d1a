"""Which features exist: entities, where their rows lie, views, and the services that models ask for."""
