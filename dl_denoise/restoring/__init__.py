"""From denoising to restoring: the slope of the density, samples, what is missing, plug and play"""
