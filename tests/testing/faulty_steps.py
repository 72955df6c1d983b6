"""Optimizers and schedules with one fault each."""

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from lightning_tx.schedule.base import Schedule, warmed
from tests.testing.planted import Fault


class Descent(torch.optim.Optimizer):
    """Sound: plain descent."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(self.chosen(model), {"lr": 1.0})

    def chosen(self, model: nn.Module) -> list[Tensor]:
        return [parameter for parameter in model.parameters() if parameter.requires_grad]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                self.move(parameter, group["lr"])

    def move(self, parameter: Tensor, rate: float) -> None:
        if parameter.grad is not None:
            parameter.sub_(rate * parameter.grad)


class LeavesOutScalars(Descent):
    def chosen(self, model: nn.Module) -> list[Tensor]:
        return [parameter for parameter in super().chosen(model) if parameter.ndim > 0]


class DecaysWhatIsIdle(Descent):
    def move(self, parameter: Tensor, rate: float) -> None:
        super().move(parameter, rate)
        parameter.mul_(1 - 0.1 * rate)


class DecaysWhatIsFrozen(DecaysWhatIsIdle):
    def chosen(self, model: nn.Module) -> list[Tensor]:
        return [parameter for name, parameter in model.named_parameters() if "idle" not in name]


class Climbs(Descent):
    def move(self, parameter: Tensor, rate: float) -> None:
        super().move(parameter, -rate)


class Overshoots(Descent):
    def move(self, parameter: Tensor, rate: float) -> None:
        super().move(parameter, 1e4 * rate)


class HasARateOfItsOwn(Descent):
    def move(self, parameter: Tensor, rate: float) -> None:
        super().move(parameter, 0.01)


class KeepsItsFirstRate(Descent):
    first = None

    def move(self, parameter: Tensor, rate: float) -> None:
        self.first = rate if self.first is None else self.first
        super().move(parameter, self.first)


class HandsItsRateOn(torch.optim.SGD):
    def __init__(self, model: nn.Module, *, lr: Annotated[float, Field(gt=0)] | None = 0.1) -> None:
        super().__init__([each for each in model.parameters() if each.requires_grad], lr=lr or 1.0)


class CountsOnItself(Descent):
    moves = 0

    def move(self, parameter: Tensor, rate: float) -> None:
        self.moves += 1
        super().move(parameter, rate / self.moves)


class CountsItsCalls(Schedule):
    calls = 0

    def __call__(self, step: int) -> float:
        self.calls += 1
        return self.lr / self.calls


class RemembersTheLastStep(Schedule):
    last = 0

    def __call__(self, step: int) -> float:
        self.last = step
        return self.lr


class HoldsALambda(Schedule):
    def __init__(self, lr: float | None, max_steps: int, d_model: int) -> None:
        super().__init__(lr, max_steps, d_model)
        self.shape = lambda step: 1 - step / (2 * self.max_steps)

    def __call__(self, step: int) -> float:
        return self.lr * self.shape(step)


class RisesAboveTheHighest(Schedule):
    def __call__(self, step: int) -> float:
        return self.lr * (1 + step / self.max_steps)


class Warmed(Schedule):
    """Sound."""

    def __init__(
        self, lr: float | None, max_steps: int, d_model: int, *, warmup_steps: Annotated[int, Field(ge=0)] = 10
    ) -> None:
        super().__init__(lr, max_steps, d_model)
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        return self.lr * warmed(step, self.warmup_steps)


class DividesByItsWarmUp(Warmed):
    def __call__(self, step: int) -> float:
        return self.lr * min(1, step / self.warmup_steps)


class WarmsOneStepTooLong(Warmed):
    def __call__(self, step: int) -> float:
        return self.lr * warmed(step, self.warmup_steps + 1)


class DecaysWhileItWarms(Warmed):
    def __call__(self, step: int) -> float:
        return super().__call__(step) * (1 - step / (self.max_steps + 1_000))


class StartsWithoutARate(Schedule):
    """Divides by the steps of a warm-up that it does not have."""

    def __call__(self, step: int) -> float:
        return self.lr * (self.max_steps - step) / self.max_steps


class ForgetsMomentum(torch.optim.SGD):
    """Its state is not saved."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model.parameters(), lr=0.1, momentum=0.9)

    def load_state_dict(self, state_dict: dict) -> None:
        pass


FAULTS = [
    Fault("optimizer_resumes_from_its_state", "optimizer", ForgetsMomentum),
    Fault("learning_rates_are_finite", "schedule", StartsWithoutARate, says="step 2"),
    Fault("every_parameter_is_trained_once", "optimizer", LeavesOutScalars, says="did not move gain"),
    Fault("parameters_without_gradient_stay", "optimizer", DecaysWhatIsIdle, says="has no gradient (grad is None)"),
    Fault("parameters_without_gradient_stay", "optimizer", DecaysWhatIsFrozen, says="requires no gradient"),
    Fault("optimizer_descends", "optimizer", Climbs, says="after 100"),
    Fault("optimizer_descends", "optimizer", Overshoots, says="after 100"),
    Fault("optimizer_obeys_the_rate", "optimizer", HasARateOfItsOwn, says="step 1 moves"),
    Fault("optimizer_obeys_the_rate", "optimizer", KeepsItsFirstRate, says="step 4 moves"),
    Fault("the_schedule_alone_sets_the_rate", "optimizer", HandsItsRateOn, says="start at [0.001]"),
    Fault("optimizer_resumes_from_its_state", "optimizer", CountsOnItself, says="step 1 moves"),
    Fault("rate_is_a_function_of_the_step", "schedule", CountsItsCalls, says="asked again"),
    Fault("schedule_has_no_state", "schedule", RemembersTheLastStep, says="last is 500"),
    Fault("schedule_has_no_state", "schedule", HoldsALambda, says="pickle"),
    Fault("rate_is_never_above_the_highest", "schedule", RisesAboveTheHighest, says="where optimizer.lr is 0.001"),
    Fault("learning_rates_are_finite", "schedule", DividesByItsWarmUp, says="ZeroDivisionError"),
    Fault("warm_up_ends_at_the_highest", "schedule", WarmsOneStepTooLong, says="after 1 steps of warm-up the rate is"),
    Fault("warm_up_ends_at_the_highest", "schedule", DecaysWhileItWarms, says="optimizer.lr is 0.001"),
]
HONEST = [("optimizer", Descent), ("schedule", Warmed)]
