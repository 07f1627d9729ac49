"""Q2, information preservation: where in the vision-language model is spatial information lost?"""
