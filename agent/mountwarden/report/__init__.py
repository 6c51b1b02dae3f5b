"""From facts to documents: the JSON of the report, of explain and of the map."""
