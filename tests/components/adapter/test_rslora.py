from tests.components.adapter.models import assert_like_peft


def test_output_and_gradients_are_those_of_peft() -> None:
    options = {"r": 3, "lora_alpha": 5.0, "use_rslora": True}
    assert_like_peft({"name": "rslora", "rank": 3, "alpha": 5.0}, **options)
    assert_like_peft(
        {"name": "rslora", "rank": 3, "alpha": 5.0, "ranks": {"v_proj": 2}, "alphas": {"stack.layers.1.*": 7.0}},
        **options,
        rank_pattern={"v_proj": 2},
        alpha_pattern={r"stack\.layers\.1\..*": 7.0},
    )
