"""`make backtest-margin`: the house margin on days it was not calibrated on, and on generated stress."""
