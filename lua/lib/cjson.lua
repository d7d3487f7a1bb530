return require("silverback.json").new(false)
