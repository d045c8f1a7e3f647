import gov.aps.jca.Channel;
import gov.aps.jca.Context;
import gov.aps.jca.JCALibrary;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Puts texts with completion and prints what the listener is given: arguments are NAME VALUE, any number of times. */
public class JavaPut {
    public static void main(String[] arguments) throws Exception {
        Context context = JCALibrary.getInstance().createContext(JCALibrary.CHANNEL_ACCESS_JAVA);
        for (int at = 0; at + 1 < arguments.length; at += 2) {
            Channel channel = context.createChannel(arguments[at]);
            context.pendIO(5.0);
            CountDownLatch answered = new CountDownLatch(1);
            String[] status = {"NO ANSWER"};
            channel.put(arguments[at + 1], event -> {
                status[0] = event.getStatus().getName();
                answered.countDown();
            });
            context.flushIO();
            answered.await(5, TimeUnit.SECONDS);
            System.out.println(status[0]);
            channel.destroy();
        }
        context.destroy();
    }
}
