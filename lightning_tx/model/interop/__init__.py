"""Models of Hugging Face's transformers as ours: one file a family, named by its ``model_type``.

Each has the same two functions, which take what lies in a model's folder and do not need transformers:

    config(hf_config: Mapping[str, Any]) -> dict[str, Any]
        From the content of ``config.json`` to the config that ``build_model`` takes. A setting that our parts cannot
        follow is refused, one that transformers would fill in may be missing.

    weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]
        From the tensors of ``model.safetensors``, or a module's ``state_dict()``, to the state dict of that model, all
        of it. Tensors may share memory with those given.

Together they give a model that computes what the original does:

    model = build_model(gpt2.config(json.load(open("config.json"))))
    model.load_state_dict(gpt2.weights(load_file("model.safetensors")))
"""
