"""P2, hybrid encoder: does fusing DINOv2 with the vision-language model mend the loss of spatial information?"""
