"""SAM2 (Ravi et al. 2024, https://arxiv.org/abs/2408.00714): masks from prompts, on images and through videos."""
