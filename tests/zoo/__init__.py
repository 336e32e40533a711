"""Small applications, healthy and sick, each with the verdict that is right of it."""
