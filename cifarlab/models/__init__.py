"""Networks: their configs, the modules that these build, roles and stages of parameters."""
