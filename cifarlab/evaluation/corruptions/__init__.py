"""The fifteen common corruptions of Hendrycks & Dietterich 2019."""
