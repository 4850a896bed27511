"""Parts of llama_server_suite.py."""
