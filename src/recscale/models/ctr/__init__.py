"""Click models: will the user act on this item?"""
