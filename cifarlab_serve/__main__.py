"""``python -m cifarlab_serve``."""

from cifarlab_serve.server import main

if __name__ == "__main__":
    main()
