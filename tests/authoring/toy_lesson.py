# %% [markdown] tags=["card"]
r"""
# Capstone

A toy lesson with $\gamma \in [0, 1)$.
"""

# %%
import html

# %% [markdown] tags=["slide"]
r"""
## Worth

Later counts less.
"""

# %% [markdown] exercise="capstone.discounted_sum"
r"""
Add the values, each discounted by its position.
"""

# %% exercise="capstone.discounted_sum"
def discounted_sum(values, discount):
    """Return the sum of ``discount**t * values[t]``."""
    total = 0.0
    ### BEGIN SOLUTION
    for step, value in enumerate(values):
        total += discount**step * value
    ### END SOLUTION
    return total


# %% tags=["hide-input"]
class Bar:
    """A picture with a text alternative."""

    def _repr_mimebundle_(self, include=None, exclude=None):
        text = html.escape(f"a bar of height {discounted_sum([1.0, 1.0], 0.5):.2f}")
        image = f'<img alt="{text}" src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">'
        return {"text/html": image, "text/plain": text}


Bar()

# %% tags=["instructor"]
print("Ask the room first.")

# %% [markdown] tags=["solution-only"]
r"""
Compare the two ways.
"""

# %% [markdown] tags=["exercise-only"]
r"""
Take your time.
"""

# %% [markdown] exercise="capstone.map_size"
r"""
How large is the map?
"""

# %% exercise="capstone.map_size"
map_text = "S.G\n..."
### BEGIN SOLUTION
map_size = {"rows": 2,
            "columns": 3}
### END SOLUTION

# %%
print(map_size["rows"] * map_size["columns"])
