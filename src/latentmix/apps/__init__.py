"""What people touch: the command line, its progress and pictures. They read runs."""
