return { "000_base_badges", "001_badges_pin" }
