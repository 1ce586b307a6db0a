"""The house as its venues see it: what each margin model would demand for everything that clients hold together."""
