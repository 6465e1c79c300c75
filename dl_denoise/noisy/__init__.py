"""Learning from noisy images: Noise2Noise, what a clip does to it, losses, frozen noise, single images"""
