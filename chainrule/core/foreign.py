"""The names that users of PyTorch, Keras and scikit-learn bring along, and where they lead here.

A name that chainrule does not have goes in; a sentence that says what to write instead comes
out.  To teach chainrule another name, add a row to one of the three tables.

Read next: :func:`chainrule.core.errors.did_you_mean`, which asks here first.
"""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["ADVICE", "CALLED", "MEMBERS", "advice", "no_member"]

# Spelled without "_" and "-", in lower case: the names for the same thing here.  The first
# that exists where the name was used is the answer.
CALLED: dict[str, tuple[str, ...]] = {
    # layers
    "dense": ("Linear",),
    "fullyconnected": ("Linear",),
    "batchnormalization": ("BatchNorm",),
    "batchnorm1d": ("BatchNorm",),
    "layernormalization": ("LayerNorm",),
    "swish": ("SiLU", "silu"),
    "rescaling": ("Scale",),
    "model": ("Sequential", "Network"),
    "functional": ("Network",),
    # losses
    "categoricalcrossentropy": ("cross_entropy",),
    "sparsecategoricalcrossentropy": ("cross_entropy",),
    "crossentropyloss": ("cross_entropy",),
    "softmaxcrossentropy": ("cross_entropy",),
    "logloss": ("cross_entropy",),
    "nllloss": ("cross_entropy",),
    "binarycrossentropy": ("binary_cross_entropy",),
    "bceloss": ("binary_cross_entropy",),
    "bcewithlogitsloss": ("binary_cross_entropy",),
    "bce": ("binary_cross_entropy",),
    "meansquarederror": ("mse",),
    "mseloss": ("mse",),
    "squarederror": ("mse",),
    "meanabsoluteerror": ("mae",),
    "l1loss": ("mae",),
    "absoluteerror": ("mae",),
    "huberloss": ("huber",),
    "smoothl1loss": ("huber",),
    "kldivloss": ("kl_divergence",),
    "kld": ("kl_divergence",),
    "poissonnllloss": ("poisson",),
    "multimarginloss": ("multiclass_hinge",),
    "categoricalhinge": ("multiclass_hinge",),
    # optimizers and schedules
    "stochasticgradientdescent": ("SGD", "sgd"),
    "steplr": ("StepDecay",),
    "exponentiallr": ("Exponential",),
    "exponentialdecay": ("Exponential",),
    "cosineannealinglr": ("Cosine",),
    "cosinedecay": ("Cosine",),
    "cosineannealingwarmrestarts": ("CosineRestarts",),
    "onecyclelr": ("OneCycle",),
    "polynomiallr": ("Polynomial",),
    "multisteplr": ("Piecewise",),
    "reducelronplateau": ("ReduceOnPlateau",),
    "averagedmodel": ("EMA",),
    "clipgradnorm": ("ClipNorm", "clip_norm"),
    "clipnorm": ("ClipNorm", "clip_norm"),
    "clipvalue": ("ClipValue", "clip_value"),
    # penalties and first weights
    "l1l2": ("L1L2",),
    "elasticnet": ("L1L2",),
    "xavieruniform": ("GlorotUniform", "glorot_uniform"),
    "xaviernormal": ("GlorotNormal", "glorot_normal"),
    "kaiminguniform": ("HeUniform", "he_uniform"),
    "kaimingnormal": ("HeNormal", "he_normal"),
    # arguments and options
    "lr": ("learning_rate",),
    "learningrate": ("learning_rate", "lr"),
    "learningrateinit": ("learning_rate", "lr"),
    "maxiter": ("epochs",),
    "nepochs": ("epochs",),
    "nbepoch": ("epochs",),
    "numepochs": ("epochs",),
    "batch": ("batch_size",),
    "callbacks": ("on_epoch",),
    "callback": ("on_epoch",),
    "validationsplit": ("validation",),
    "validationdata": ("validation",),
    "validationfraction": ("validation",),
    "evalset": ("validation",),
    "verbose": ("progress", "quiet"),
    "randomstate": ("seed",),
    "hiddenlayersizes": ("hidden",),
    "layers": ("hidden",),
    "units": ("outputs", "hidden"),
    "outfeatures": ("outputs",),
    "infeatures": ("inputs",),
    "kernelinitializer": ("weight_init",),
    "kernelregularizer": ("regularizer",),
    "solver": ("optimizer",),
    "criterion": ("loss",),
    "njobs": ("threads",),
    "numworkers": ("threads",),
    "dropoutrate": ("dropout",),
    "testsize": ("test_fraction",),
    "niternochange": ("patience",),
    # functions
    "traintestsplit": ("split",),
    "stratifiedkfold": ("stratified_folds",),
    "kfold": ("folds",),
    "standardscaler": ("Standardize",),
    "minmaxscaler": ("MinMax",),
    "robustscaler": ("Robust",),
    "readcsv": ("read_table",),
    "readparquet": ("read_table",),
    "cat": ("concat",),
    "concatenate": ("concat",),
    "unsqueeze": ("expand_dims",),
    "permute": ("transpose",),
    "view": ("reshape",),
    "clamp": ("clip",),
    "detach": ("stop_gradient",),
    "stopgradient": ("stop_gradient",),
    "placeholder": ("input",),
    "dot": ("matmul",),
    "mm": ("matmul",),
    "bmm": ("matmul",),
    "atan": ("arctan",),
    "array": ("tensor",),
    "astensor": ("tensor",),
    "jacrev": ("jacobian",),
    "gradcheck": ("check_grads",),
}

_PROCESSOR = "chainrule runs on the processor; threads sets how many of its cores."
_CONVOLUTION = "Convolutions are not in chainrule yet."
_RECURRENCE = "Recurrent layers are not in chainrule yet."
_ATTENTION = "Attention is not in chainrule yet."
_MODE = (
    "There is no training mode to switch: fit trains and predict predicts, and layers such as "
    "Dropout know which."
)
_RETURNED = "Gradients are returned, not stored: g = chainrule.grad(loss, weight)."

# Spelled as above: what to do, where no single name here is the answer.
ADVICE: dict[str, str] = {
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "convtranspose2d", "maxpool2d", "maxpooling2d",
         "avgpool2d", "averagepooling2d", "adaptiveavgpool2d", "globalaveragepooling2d",
         "batchnorm2d"),
        _CONVOLUTION,
    ),
    **dict.fromkeys(
        ("rnn", "lstm", "gru", "simplernn", "lstmcell", "grucell", "bidirectional"), _RECURRENCE
    ),
    **dict.fromkeys(
        ("attention", "multiheadattention", "transformer", "transformerencoder"), _ATTENTION
    ),
    **dict.fromkeys(("device", "cuda", "gpu", "tocuda"), _PROCESSOR),
    "module": "A layer is a dataclass whose __call__(self, x) returns what it computes.",
    "nograd": "Gradients are made only when chainrule.grad asks for them.",
    "gradienttape": "Nothing has to be recorded first: chainrule.grad(loss, weights) is enough.",
    "shuffle": "The rows are shuffled anew in every epoch; seed says how.",
    "dataloader": "Pass arrays: chainrule.fit(model, (X, y), batch_size=32) makes the batches.",
    "tensordataset": "Pass arrays: chainrule.fit(model, (X, y), ...).",
    "lambdalr": "Inherit from optim.Schedule and write the rate as a graph in value(h, s).",
    "learningratescheduler": "Give the optimizer a schedule: optim.Adam(optim.Cosine(1e-3)).",
    "modelcheckpoint": "fit keeps the best weights; run.save(folder) saves them.",
    "tensorboard": "on_epoch(run, record) is called after each epoch with the numbers to write.",
    "softmax": (
        "A network for classes ends in a Linear layer: the loss cross_entropy takes raw scores, "
        "and run.predict_proba gives probabilities. The function is chainrule.softmax."
    ),
    "logsoftmax": (
        "A network for classes ends in a Linear layer: the loss cross_entropy takes raw scores. "
        "The function is chainrule.log_softmax."
    ),
    "pickle": "run.save(folder) and chainrule.load(folder) save and load a run.",
    "save": "A run is saved by run.save(folder) and read by chainrule.load(folder).",
}  # fmt: skip

# Methods and attributes of models, optimizers, tensors and runs elsewhere.
MEMBERS: dict[str, str] = {
    "fit": "Train it with run = chainrule.fit(model, (X, y), loss=..., optimizer=...).",
    "compile": "Loss and optimizer are given to chainrule.fit, which compiles the training step.",
    "predict": "Train it first: run = chainrule.fit(model, ...); then run.predict(X).",
    "evaluate": "Train it first: run = chainrule.fit(model, ...); then run.evaluate((X, y)).",
    "parameters": "They are chainrule.nn.parameters(model).",
    "named_parameters": "They are chainrule.nn.parameters(model), each with its name.",
    "trainable_variables": "They are chainrule.nn.parameters(model).",
    "get_weights": "They are chainrule.nn.parameters(model); each has a value.",
    "set_weights": "Assign to the value of each of chainrule.nn.parameters(model).",
    "state_dict": "run.save(folder) saves a trained model, chainrule.load(folder) reads it.",
    "load_state_dict": "run.save(folder) saves a trained model, chainrule.load(folder) reads it.",
    "eval": _MODE,
    "train": _MODE,
    "add": "Layers are given as a list: nn.Sequential([nn.Linear(4, 8), nn.ReLU()]).",
    "append": "Layers are given as a list: nn.Sequential([nn.Linear(4, 8), nn.ReLU()]).",
    "forward": "A layer is called: layer(x).",
    "summary": "It is chainrule.nn.summary(model).",
    "to": _PROCESSOR,
    "cuda": _PROCESSOR,
    "cpu": _PROCESSOR,
    "device": _PROCESSOR,
    "zero_grad": _RETURNED,
    "step": "chainrule.fit takes the steps; by hand: w.value = w.value - 0.1 * g.numpy().",
    "apply_gradients": "chainrule.fit takes the steps.",
    "minimize": "chainrule.fit takes the steps.",
    "param_groups": "optim.groups gives patterns of parameters optimizers of their own.",
    "backward": _RETURNED,
    "grad": _RETURNED,
    "requires_grad": "Every float tensor has gradients: chainrule.grad(loss, x) is enough.",
    "requires_grad_": "Every float tensor has gradients: chainrule.grad(loss, x) is enough.",
    "detach": "It is chainrule.stop_gradient(x); x.numpy() is its value.",
    "clone": "Tensors do not change, so no copy is needed.",
    "data": "x.numpy() is its value.",
    "tolist": "x.numpy().tolist() is its value.",
    "view": "It is x.reshape(...).",
    "permute": "It is x.transpose(...).",
    "unsqueeze": "It is chainrule.expand_dims(x, axis).",
    "squeeze": "It is chainrule.squeeze(x, axis).",
    "size": "Lengths are in x.shape.",
    "dim": "It is x.ndim.",
    "float": "It is x.astype('float32').",
    "double": "It is x.astype('float64').",
    "long": "It is x.astype('int64').",
    "matmul": "It is a @ b, or chainrule.matmul(a, b).",
    "mm": "It is a @ b, or chainrule.matmul(a, b).",
    "score": "run.evaluate((X, y)) gives the loss and the metrics.",
    "score_samples": "run.evaluate((X, y)) gives the loss and the metrics.",
    "coefs_": "They are chainrule.nn.parameters(run.model); each has a value.",
    "loss_curve_": "run.history holds one record for each epoch.",
}


def _key(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def advice(name: str, options: Collection[str]) -> str:
    """Return a sentence for a `name` known from elsewhere, or "" where none is known.

    >>> advice("Dense", ["Density", "Linear"])
    "It is called 'Linear' here."
    >>> advice("Conv2d", ["Linear"])
    'Convolutions are not in chainrule yet.'
    >>> advice("Dense", ["Adam"])
    ''
    """
    key = _key(name)
    for called in CALLED.get(key, ()):
        if called in options and called != name:
            return f"It is called {called!r} here."
    return ADVICE.get(key, "")


def no_member(owner: object, name: str) -> AttributeError:
    """Return the error for an attribute that `owner` does not have, with what to do instead.

    >>> str(no_member([], "backward"))[:67]
    "'list' object has no attribute 'backward'. Gradients are returned, "
    """
    hint = MEMBERS.get(name, "")
    return AttributeError(
        f"{type(owner).__name__!r} object has no attribute {name!r}. {hint}".rstrip(". ")
        + ("." if hint else "")
    )
