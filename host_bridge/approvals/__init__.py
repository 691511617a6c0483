"""What a person is asked, what a yes leaves behind, and for how long. Used by the session process.

calls      a call that needs a person's word, and the loop it belongs to
questions  which calls share a question, when it is asked, when it expires: a state machine without clock or socket
patterns   the bounded yes to a loop: a rule, so many calls, so long
grants     what a yes left behind in this session
store      what a yes to a notebook left behind, in a file
cooling    what a person said no to again and again isn't asked for a while
targets    what a call would touch, as text
telling    a question as it is shown, and an answer as it is recorded
desk       ties them to running calls, the audit log and the control channel
"""
