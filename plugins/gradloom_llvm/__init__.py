"""The llvm compiler: regions of a graph become machine code for NumPy arrays."""
