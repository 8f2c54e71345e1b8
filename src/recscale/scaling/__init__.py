"""How quality grows with size, history and data: ladders, laws, forecasts."""
