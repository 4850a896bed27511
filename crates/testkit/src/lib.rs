//! Test support: case tables, tolerances, seeds, scripted engines, tiny model files.
