"""Great Expectations: suites and the three gates (landing, warehouse, release). No row value is ever reported."""
