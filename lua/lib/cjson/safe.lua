return require("silverback.json").new(true)
